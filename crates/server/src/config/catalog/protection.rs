//! Keys about who may do what, and how connections are protected.

use super::Effect::{Demands, Nothing, Same, Shut, Works};
use super::Form::{Bare, Property};
use super::Key;
use super::Tier::{A, B, C};
use super::serving::keys;

pub(super) const KEYS: &[Key] = keys! {
    "DigestAuthenticationProvider.enabled" Property B "true" Works "as Apache";
    "DigestAuthenticationProvider.digestAlg" Property B "SHA1" Works "as Apache; an algorithm that is not known is refused at start";
    "DigestAuthenticationProvider.superDigest" Property A "unset" Works "as Apache";
    "IPAuthenticationProvider.usexforwardedfor" Property B "false" Nothing "not part of this version";
    "authProvider.*" Property A "none" Shut "nobody can authenticate with it, unless it is `digest` or `ip`, which are always there; with one of SASL, who tries SASL is refused with -115";
    "X509AuthenticationProvider.superUser" Property A "unset" Shut "nobody can authenticate with it";
    "superUser*" Property A "unset" Shut "of SASL: nobody can authenticate with it";
    "SASLAuthenticationProvider.superPassword" Property B "unset" Shut "nobody can authenticate with it";
    "sessionRequireClientSASLAuth" Property A "false" Demands "SASL of clients";
    "enforce.auth.enabled" Property A "false" Demands "authenticated sessions";
    "enforce.auth.schemes" Property A "unset" Demands "authenticated sessions";
    "allowSaslFailedClients" Property B "false" Works "as Apache: who tries SASL may go on unauthenticated";
    "ensembleAuthName" Property B "unset" Shut "of scheme `ensemble`: nobody can authenticate with it";
    "sasl.serverconfig" Property A "Server" Nothing "SASL is not part of this version";
    "letAnySaslUserDoX" Property C "unset" Nothing "SASL is not part of this version";
    "java.security.auth.login.config" Bare A "unset" Shut "SASL is not part of this version; who tries it is refused with -115";
    "kerberos.*" Property B "" Nothing "SASL is not part of this version";
    "security.auth_to_local" Property C "" Nothing "SASL is not part of this version";
    "requireKerberosConfig" Property C "false" Nothing "SASL is not part of this version";
    "kinit" Property C "" Nothing "SASL is not part of this version";
    "fips-mode" Property A "true" Same "DIGEST-MD5 is not spoken either way";
    "ssl.*" Property A "" Shut "TLS is not part of this version: `ssl.keyStore.*`, `ssl.trustStore.*`, `ssl.clientAuth`, `ssl.quorum.*` and all others";
    "client.portUnification" Property A "false" Shut "`clientPort` is plain";
    "client.certReload" Property B "false" Nothing "TLS is not part of this version";
    "admin.forceHttps" Property B "false" Demands "TLS at the AdminServer";
    "admin.needClientAuth" Property B "false" Demands "client certificates at the AdminServer";
    "audit.enable" Property A "false" Demands "an audit log";
    "audit.impl.class" Property C "Slf4jAuditLogger" Nothing "there is no audit log in this version";
};
