//! Who a connection is, and what that permits.
