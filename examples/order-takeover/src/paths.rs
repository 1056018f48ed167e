//! Where everything is in the tree.

/// The group of processes: `MEMBERS/order1` says where it listens.
pub const MEMBERS: &str = "/members";
/// `OWNERS/order1` is the lock under which the orders of `order1` are written.
pub const OWNERS: &str = "/owners";
/// `ORDERS/<id>`: an [`Order`](crate::order::Order).
pub const ORDERS: &str = "/orders";
/// `LEDGER/entry-0000000000`: an order was done, and by whom. Twice done would be two entries.
pub const LEDGER: &str = "/ledger";
/// Inboxes.
pub const MESSAGES: &str = "/messages";
