//! The `digest` scheme: an identity is `user:BASE64(HASH(user:password))`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

/// How passwords are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `SHA1`, Apache's default.
    Sha1,
    /// `SHA-224`.
    Sha224,
    /// `SHA-256`.
    Sha256,
    /// `SHA-384`.
    Sha384,
    /// `SHA-512`.
    Sha512,
    /// `SHA-512/224`.
    Sha512Of224,
    /// `SHA-512/256`.
    Sha512Of256,
}

impl DigestAlgorithm {
    /// The algorithm of a Java name, in any case; `None` if we do not have it.
    pub fn from_java_name(name: &str) -> Option<DigestAlgorithm> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA" | "SHA1" | "SHA-1" => DigestAlgorithm::Sha1,
            "SHA224" | "SHA-224" => DigestAlgorithm::Sha224,
            "SHA256" | "SHA-256" => DigestAlgorithm::Sha256,
            "SHA384" | "SHA-384" => DigestAlgorithm::Sha384,
            "SHA512" | "SHA-512" => DigestAlgorithm::Sha512,
            "SHA512/224" | "SHA-512/224" => DigestAlgorithm::Sha512Of224,
            "SHA512/256" | "SHA-512/256" => DigestAlgorithm::Sha512Of256,
            _ => return None,
        })
    }

    /// The identity that `user:password` proves. The hash covers the whole text, and a text
    /// without a colon is a user with no password: Apache accepts both.
    pub fn identity(self, credentials: &str) -> String {
        let bytes = credentials.as_bytes();
        let hash = match self {
            DigestAlgorithm::Sha1 => STANDARD.encode(Sha1::digest(bytes)),
            DigestAlgorithm::Sha224 => STANDARD.encode(Sha224::digest(bytes)),
            DigestAlgorithm::Sha256 => STANDARD.encode(Sha256::digest(bytes)),
            DigestAlgorithm::Sha384 => STANDARD.encode(Sha384::digest(bytes)),
            DigestAlgorithm::Sha512 => STANDARD.encode(Sha512::digest(bytes)),
            DigestAlgorithm::Sha512Of224 => STANDARD.encode(Sha512_224::digest(bytes)),
            DigestAlgorithm::Sha512Of256 => STANDARD.encode(Sha512_256::digest(bytes)),
        };
        format!("{}:{hash}", user(credentials))
    }
}

/// The user of an identity, or of credentials: what stands before the first colon.
pub fn user(identity: &str) -> &str {
    identity.split_once(':').map_or(identity, |(user, _)| user)
}

/// Whether an ACL may name this identity: two parts, trailing empty ones not counted.
pub fn is_valid(identity: &str) -> bool {
    let trimmed = identity.trim_end_matches(':');
    !trimmed.is_empty() && trimmed.split(':').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_those_of_apache() {
        let sha1 = DigestAlgorithm::Sha1;
        assert_eq!(sha1.identity("u:p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        assert_eq!(sha1.identity("super:admin"), "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
        assert_eq!(sha1.identity("super:secret"), "super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
        assert_eq!(user(&sha1.identity("nocolon")), "nocolon");
        // The password may hold colons.
        assert_eq!(user(&sha1.identity("u:p:q")), "u");
        assert_ne!(sha1.identity("u:p:q"), sha1.identity("u:p"));
    }

    #[test]
    fn every_algorithm_has_its_java_name() {
        let lengths = [
            ("SHA1", 20),
            ("sha-224", 28),
            ("SHA-256", 32),
            ("SHA-384", 48),
            ("SHA-512", 64),
            ("SHA-512/224", 28),
            ("SHA-512/256", 32),
        ];
        for (name, length) in lengths {
            let algorithm = DigestAlgorithm::from_java_name(name).expect(name);
            let identity = algorithm.identity("u:p");
            let (_, hash) = identity.split_once(':').expect("user and hash");
            assert_eq!(STANDARD.decode(hash).expect("base64").len(), length, "{name}");
        }
        assert_eq!(DigestAlgorithm::from_java_name("MD5"), None);
        let sha256 = DigestAlgorithm::Sha256.identity("abc");
        assert_eq!(sha256, "abc:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn an_identity_has_two_parts() {
        for valid in ["a:b", ":b", "a:b:", "a:b::"] {
            assert!(is_valid(valid), "{valid}");
        }
        for invalid in ["", "a", "a:", ":", "::", "a:b:c", "a::b"] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }
}
