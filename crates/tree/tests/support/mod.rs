//! What the tests of the tree share: a naive model of it, and random transactions.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod compare;
pub mod crc;
pub mod image;
pub mod model;
pub mod sane;
pub mod source;
pub mod wild;
