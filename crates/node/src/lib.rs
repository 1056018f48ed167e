//! One server's mind, as two deterministic machines: [`core`], one per server, which orders and
//! applies writes and owns the sessions; and [`front`], one per reactor, which owns connections,
//! reads, watches and the order of replies. They share nothing but the tree, which the shell
//! locks, and what [`mail`] carries between them. In an ensemble a [`member`] is a Core and its peer.
//!
//! Pure: no clock, socket, file, thread or randomness.

pub mod auth;
pub mod command;
pub mod config;
pub mod core;
pub mod front;
pub mod histogram;
pub mod mail;
pub mod member;
pub mod mutation;
pub mod namespaces;
pub mod session_id;
pub mod time;
