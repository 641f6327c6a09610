//! Addresses of the web: origins (`https://a.example.com`) and URLs.

use std::fmt;

/// Most origins of a list: each request that names one is compared with all.
pub const ORIGINS_MAX: usize = 1_024;

/// Origins whose pages may read answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// All of them.
    pub any: bool,
    /// These, to the letter.
    pub list: Vec<String>,
}

impl Origins {
    /// Reads `*`, `none`, or origins separated by commas.
    ///
    /// # Errors
    /// A sentence that says which entry is wrong and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" => return Ok(Self { any: true, list: Vec::new() }),
            "none" => return Ok(Self::default()),
            _ => {}
        }
        let list: Vec<_> = text.split(',').map(str::trim).map(origin).collect::<Result<_, _>>()?;
        if list.len() > ORIGINS_MAX {
            return Err(format!("there are more than {ORIGINS_MAX} origins"));
        }
        Ok(Self { any: false, list })
    }
}

/// Browsers send origins in one form, and they are compared to the letter: what could never match is refused.
fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("`*` allows every origin, so no other may stand beside it".to_owned());
    }
    if text == "null" {
        return Err(
            "`null` is what every local file and sandboxed page sends: it cannot be told from others".to_owned()
        );
    }
    let Some((scheme, host)) = text.split_once("://") else {
        return Err(format!("`{text}` is no origin: it has no scheme, such as https://"));
    };
    if host.contains(['/', '?', '#', '@']) {
        return Err(format!("`{text}` is no origin: one ends with its host or port, without a slash"));
    }
    if !is_scheme(scheme) || host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("`{text}` is no origin"));
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("`{text}` has capital letters, and browsers send small ones"));
    }
    if text.ends_with(":443") && scheme == "https" || text.ends_with(":80") && scheme == "http" {
        return Err(format!("`{text}` names the usual port, which browsers leave out"));
    }
    Ok(text.to_owned())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// Reads an address with one of these schemes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let text = text.trim();
    let host = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
    match host {
        None => Err(format!("`{text}` does not begin with {}://", schemes.join(":// or "))),
        Some(host) if host.is_empty() || host.starts_with(['/', '?', '#', ':']) => {
            Err(format!("`{text}` names no host"))
        }
        Some(host) if !host.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(format!("`{text}` has a character that no address has"))
        }
        Some(host) if host.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')) => {
            Err("it has a name or password in it, which would be shown".to_owned())
        }
        Some(_) => Ok(text.to_owned()),
    }
}

/// Whether keys that decide who comes in may be fetched from an address: by TLS, or from this machine.
pub(crate) fn is_safe_for_keys(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return url.starts_with("https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.any, self.list.is_empty()) {
            (true, _) => f.write_str("*"),
            (false, true) => f.write_str("none"),
            (false, false) => f.write_str(&self.list.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_list_reads_back() {
        for text in ["*", "none", "https://a.example.com,http://localhost:3000", "http://[::1]:8080"] {
            assert_eq!(Origins::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://a.example.com/",
            "https://A.example.com",
            "https://a.example.com:443",
            "http://a.example.com:80",
            "https://a.example.com,*",
            "null",
            "https://a b",
        ] {
            assert!(Origins::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_longest_list_passes_and_one_more_does_not() {
        let list = vec!["http://a"; ORIGINS_MAX].join(",");
        assert!(Origins::parse(&list).is_ok());
        assert!(Origins::parse(&(list + ",http://a")).is_err());
    }

    #[test]
    fn an_address_has_a_scheme_a_host_and_no_password() {
        for text in ["https://id.example.com/keys", "http://127.0.0.1:9/jwks.json"] {
            assert_eq!(url(text, &["http", "https"]), Ok(text.to_owned()));
        }
        for text in ["", "https://", "https:///keys", "ftp://a/", "https://me:secret@a/", "https://a b/", "//a"] {
            let reason = url(text, &["http", "https"]).expect_err(text);
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
    #[test]
    fn keys_never_cross_a_network_in_the_clear() {
        for url in ["https://a.example/k", "http://localhost:80/k", "http://127.0.0.9/k", "http://[::1]:8080/k?x"] {
            assert!(is_safe_for_keys(url), "{url}");
        }
        for url in [
            "http://a.example/k",
            "http://localhost.example/k",
            "http://127.0.0.1.example/",
            "http://10.0.0.1",
            "ftp://localhost",
        ] {
            assert!(!is_safe_for_keys(url), "{url}");
        }
    }
}
