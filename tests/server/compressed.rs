//! Bodies that Python has compressed mean what they mean unpacked, also to rules.

use crate::common::Start;
use crate::common::foreign::{passes, python};
use std::path::PathBuf;

const RULES: &str = r#"
version: proto-dsl/v0
rules:
  - id: seen
    when: {http: {method: POST, path: /seen}}
    send: {http: {status: 200, body: {seen: $body.n}}}
    onError: {"*": {http: {status: 400, body: {why: $error.code}}}}
"#;

#[test]
fn pythons_compressed_bodies_mean_what_they_mean_unpacked() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("compressed-{}.yaml", std::process::id()));
    std::fs::write(&file, RULES).expect("written");
    for shards in [1, 2] {
        let server = Start::new().shards(shards).flags(&format!("--rules {}", file.display())).serve();
        passes(python("compressed_bodies.py", &[&server.http.to_string()]));
    }
}
