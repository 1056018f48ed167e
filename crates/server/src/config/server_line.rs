//! The lines `server.N=...`: read by `proto`, refused in the words of the configuration.
//!
//! Source: operations reference, 1.3.

use oxikeeper_proto::quorum::server_line::ServerLineError;
pub use oxikeeper_proto::quorum::server_line::{ClientPart, Role, ServerAddress, ServerLine};

use super::error::ConfigError;
use super::settings::Sourced;

/// Reads the line of the server `id`.
///
/// # Errors
/// What Apache refuses too, with the place of the line.
pub(super) fn parse(
    id: &str,
    found: &Sourced,
    multi_address: bool,
) -> Result<(i64, ServerLine), ConfigError> {
    let refused = |wanted: &str, advice: &str| {
        let problem = format!("server.{id}={} is not {wanted}", found.value);
        ConfigError::invalid(found.place.clone(), problem, advice)
    };
    let number = id.parse().map_err(|_| {
        refused("named server.N with a number N", "N is what the server has in its file myid")
    })?;
    let addresses = found.value.split(';').next().unwrap_or_default();
    if addresses.contains('|') && !multi_address {
        return Err(refused("one address", "several take multiAddress.enabled=true"));
    }
    let line = ServerLine::parse(&found.value).map_err(|error| match error {
        ServerLineError::Form => refused(
            "of the form server_config or server_config;client_config",
            "server_config is host:port:port or host:port:port:role, client_config is port or \
             host:port",
        ),
        ServerLineError::SamePort => refused(
            "possible: quorum port and election port must differ",
            "2888 and 3888 are usual",
        ),
        ServerLineError::UnknownRole => refused("of a known role", "it is participant or observer"),
        ServerLineError::TwoRoles => {
            refused("of one role", "all addresses of a server have the same")
        }
    })?;
    Ok((number, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Place;

    fn refusal(id: &str, value: &str, multi_address: bool) -> String {
        let found = Sourced { value: value.into(), place: Place::Line(7) };
        parse(id, &found, multi_address).expect_err(value).to_string()
    }

    #[test]
    fn refusals_say_where_and_why() {
        for (text, reason) in [
            ("a", "server_config or server_config;client_config"),
            ("a:1:2;", "server_config or server_config;client_config"),
            ("a:1:1", "must differ"),
            ("a:1:2:leader", "participant or observer"),
            ("a:1:2|b:1:2:observer", "of one role"),
        ] {
            let refusal = refusal("3", text, true);
            assert!(refusal.starts_with("line 7: server.3="), "{refusal}");
            assert!(refusal.contains(reason), "{refusal}");
        }
        let several = refusal("1", "a:1:2|b:1:2", false);
        assert!(several.contains("server.1=") && several.contains("multiAddress"), "{several}");
        let unnamed = refusal("x", "a:1:2|b:1:2", true);
        assert!(unnamed.contains("number N"), "{unnamed}");
    }
}
