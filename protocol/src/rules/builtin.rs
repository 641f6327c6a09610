//! The endpoints that are there without rules.

/// A path that is built in.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The path; of those with names in them, an example.
    pub path: &'static str,
    /// Its methods.
    pub methods: &'static [&'static str],
    /// It is a WebSocket's.
    pub is_websocket: bool,
    /// It wants a token where there are any.
    pub wants_token: bool,
}

const fn http(path: &'static str, methods: &'static [&'static str]) -> Builtin {
    Builtin { path, methods, is_websocket: false, wants_token: true }
}

const fn open(path: &'static str) -> Builtin {
    Builtin { path, methods: READ, is_websocket: false, wants_token: false }
}

const fn websocket(path: &'static str) -> Builtin {
    Builtin { path, methods: READ, is_websocket: true, wants_token: true }
}

const READ: &[&str] = &["GET", "HEAD"];

/// All of them.
pub const PATHS: &[Builtin] = &[
    open("/health"),
    http("/v1/enqueue", &["POST"]),
    http("/v1/stats", READ),
    http("/v1/snapshot", READ),
    open("/v1/metrics"),
    open("/metrics"),
    open("/v1/histograms"),
    http("/v1/live", READ),
    http("/v1/streams", READ),
    http("/v1/streams/NAME", &["GET", "HEAD", "PUT", "DELETE"]),
    http("/v1/streams/NAME/purge", &["POST"]),
    http("/v1/streams/NAME/messages", READ),
    http("/v1/streams/NAME/redrive", &["POST"]),
    http("/v1/streams/NAME/groups/GROUP", &["GET", "HEAD", "PUT", "DELETE"]),
    http("/v1/admin/reload", &["POST"]),
    http("/v1/admin/drain", &["POST"]),
    websocket("/v1/subscribe"),
    websocket("/v1/publish"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::http::Route;

    #[test]
    fn every_path_is_one_of_the_servers() {
        for builtin in PATHS {
            let route = Route::of(builtin.path);
            assert!(route.is_some_and(|route| route.is_websocket() == builtin.is_websocket), "{}", builtin.path);
        }
    }
}
