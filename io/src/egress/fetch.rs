//! One document from a web server, within bounds.

use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// Longest time that a document may take, from the name's resolution to its last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A key set is some kilobytes.
const BYTES_MAX: u64 = 1 << 20;

/// A client that keeps its connection for the next time. The system's certificates are trusted.
pub(super) fn client() -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(TIMEOUT))
        // A redirect could lead away from TLS.
        .max_redirects(0)
        .user_agent(concat!("conduit/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

/// The text at an address.
///
/// # Errors
/// A sentence.
pub(super) fn text(client: &ureq::Agent, uri: &str) -> Result<String, String> {
    check(uri)?;
    let answer = client.get(uri).header("accept", "application/json").call();
    let mut answer = answer.map_err(|error| format!("{uri}: {error}"))?;
    if answer.status() != 200 {
        return Err(format!("{uri}: the answer has status {}", answer.status()));
    }
    answer.body_mut().with_config().limit(BYTES_MAX).read_to_string().map_err(|error| format!("{uri}: {error}"))
}

/// Keys decide who comes in: they come by TLS, or from this machine.
fn check(uri: &str) -> Result<(), String> {
    let parsed: ureq::http::Uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
    let host = parsed.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match parsed.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_here => Ok(()),
        _ => Err(format!("{uri}: keys are fetched by https, or by http from this machine only")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn keys_never_cross_a_network_in_the_clear() {
        for good in ["https://id.example.com/keys", "http://127.0.0.1:1/k", "http://[::1]/k", "http://localhost/k"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://id.example.com/keys",
            "http://10.0.0.1/k",
            "ftp://127.0.0.1/k",
            "keys",
            "http://localhost.example.com/",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
