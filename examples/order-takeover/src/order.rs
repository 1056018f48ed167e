//! An order, as it stands in its node: one line of `key=value`.

use std::fmt;

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is taken, and somebody will do it.
    Created,
    /// It has been done.
    Done,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose it is to do.
    pub owner: String,
    /// How far it is.
    pub step: Step,
    /// How many are wanted: what an update changes.
    pub quantity: u32,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Created => "created",
            Step::Done => "done",
        };
        write!(f, "owner={} state={step} quantity={}", self.owner, self.quantity)
    }
}

impl Order {
    /// Reads a node.
    pub fn parse(data: &[u8]) -> Option<Order> {
        let text = std::str::from_utf8(data).ok()?;
        let field = |name: &str| {
            text.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let step = match field("state")? {
            "created" => Step::Created,
            "done" => Step::Done,
            _ => return None,
        };
        Some(Order {
            owner: field("owner")?.to_owned(),
            step,
            quantity: field("quantity")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let order = Order { owner: "order1".to_owned(), step: Step::Created, quantity: 3 };
        assert_eq!(order.to_string(), "owner=order1 state=created quantity=3");
        assert_eq!(Order::parse(order.to_string().as_bytes()), Some(order));
        assert_eq!(Order::parse(b"owner=order1"), None);
    }
}
