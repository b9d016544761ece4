//! Made models, ways to damage them, and what watches the crate while it reads and runs them.
#![allow(dead_code)] // each test file uses its part

pub mod build;
pub mod expect;
pub mod general;
pub mod memory;
pub mod models;
pub mod mutate;
pub mod random;
pub mod run;
pub mod trees;
pub mod wire;
