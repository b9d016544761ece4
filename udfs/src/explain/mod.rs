//! What each input column contributes to a row's raw score.

mod paths;
mod quadrature;
mod walk;
