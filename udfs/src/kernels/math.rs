//! Mathematical functions whose last bit does not depend on the platform.

pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

pub fn log(x: f64) -> f64 {
    libm::log(x)
}

pub fn tanh(x: f64) -> f64 {
    libm::tanh(x)
}

/// 1 / (1 + e^-x), without overflow on either side.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

pub fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

pub fn sin(x: f64) -> f64 {
    libm::sin(x)
}

pub fn cos(x: f64) -> f64 {
    libm::cos(x)
}

pub fn erf(x: f64) -> f64 {
    libm::erf(x)
}
