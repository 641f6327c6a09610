//! Keys of an issuer: fetched from where it publishes them, again when a token names a key that is not known, and put in
//! force without a restart. Until they have come, tokens that they would have signed are refused.

use crate::common::{Http, Server, Start, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A web server that publishes whatever set of keys it was last given; nothing before that.
struct Issuer {
    address: SocketAddr,
    keys: Arc<Mutex<Option<Value>>>,
    asked: Arc<Mutex<u32>>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let keys: Arc<Mutex<Option<Value>>> = Arc::default();
        let asked: Arc<Mutex<u32>> = Arc::default();
        let (published, count) = (keys.clone(), asked.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                let body = published.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (status, body) =
                    body.map_or(("503 Service Unavailable", String::new()), |keys| ("200 OK", keys.to_string()));
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { address, keys, asked }
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk.clone()).collect();
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(json!({"keys": keys}));
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> Server {
        Start::new()
            .shards(2)
            .variable("CONDUIT_OIDC_ENABLED", "true")
            .variable("CONDUIT_OIDC_ISSUER", "https://id.example.com")
            .variable("CONDUIT_OIDC_AUDIENCE", "conduit")
            .variable("CONDUIT_OIDC_JWKS_URI", &format!("http://{}/keys", self.address))
            .flags("--http-log none --ws-log none --rules none --tenant-config none")
            .serve()
    }
}

/// A signing key and what is published of it.
struct Key {
    id: &'static str,
    signing: jsonwebtoken::EncodingKey,
    jwk: Value,
}

impl Key {
    fn new(id: &'static str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("the key");
        // An uncompressed point: 4, then x and y.
        let point = pair.public_key().as_ref();
        let text = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id, "x": text(&point[1..33]), "y": text(&point[33..65]),
        });
        Self { id, signing: jsonwebtoken::EncodingKey::from_ec_der(document.as_ref()), jwk }
    }

    fn token(&self, seconds: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() as i64;
        let claims = json!({"iss": "https://id.example.com", "aud": "conduit", "sub": "me", "exp": now + seconds});
        let header = jsonwebtoken::Header {
            kid: Some(self.id.to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("a token")
    }
}

/// The status of a request with a token.
fn with_token(server: &Server, token: &str) -> u16 {
    let mut client = Http::connect(server.http);
    let head = format!("GET /v1/stats?stream=s HTTP/1.1\r\nhost: c\r\nauthorization: Bearer {token}\r\n\r\n");
    client.send(head.as_bytes());
    client.response().status
}

#[test]
fn tokens_are_let_in_by_the_keys_that_the_issuer_publishes() {
    let issuer = Issuer::start();
    let (known, strange) = (Key::new("one"), Key::new("one"));
    issuer.publish(&[&known]);
    let server = issuer.server();
    eventually("the keys", || (with_token(&server, &known.token(600)) == 404).then_some(()));
    assert_eq!(with_token(&server, &strange.token(600)), 401, "signed by another key of that name");
    assert_eq!(with_token(&server, &known.token(-600)), 401, "its time is over");
    assert_eq!(server.get("/v1/stats?stream=s").status, 401);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn an_issuer_that_comes_later_is_waited_for_and_tokens_are_refused_meanwhile() {
    let issuer = Issuer::start();
    let key = Key::new("one");
    let server = issuer.server();
    assert_eq!(with_token(&server, &key.token(600)), 401);
    assert!(server.process.stderr.line_with("keys could not be fetched").is_some());
    issuer.publish(&[&key]);
    eventually("the keys", || (with_token(&server, &key.token(600)) == 404).then_some(()));
}

#[test]
fn a_key_that_is_not_known_is_asked_for_and_strangers_cannot_make_us_ask_often() {
    let issuer = Issuer::start();
    let (old, new) = (Key::new("old"), Key::new("new"));
    issuer.publish(&[&old]);
    let server = issuer.server();
    eventually("the keys", || (with_token(&server, &old.token(600)) == 404).then_some(()));
    issuer.publish(&[&old, &new]);
    // It is told that the key is unknown, and asks again; not before ten seconds have passed since it last did.
    eventually("the new key", || (with_token(&server, &new.token(600)) == 404).then_some(()));
    assert_eq!(with_token(&server, &old.token(600)), 404);
    assert_eq!(issuer.asked(), 2, "asked more often than a stranger may make it");
}

#[test]
fn keys_go_with_the_address_that_they_came_from() {
    let (old_issuer, new_issuer) = (Issuer::start(), Issuer::start());
    let (old, new) = (Key::new("old"), Key::new("new"));
    old_issuer.publish(&[&old]);
    let name = format!("jwks-{}.yaml", std::process::id());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let configure = |issuer: &Issuer| {
        let jwt = json!({"oidc": true, "jwksUri": format!("http://{}/keys", issuer.address)});
        std::fs::write(&file, json!({"access": {"jwt": jwt}}).to_string()).expect("a file");
    };
    configure(&old_issuer);
    let config = file.display().to_string();
    let server = Start::new()
        .shards(2)
        .variable("CONDUIT_CONFIG", &config)
        .variable("CONDUIT_CONTROL_TOKEN", "boss")
        .variable("CONDUIT_OIDC_ISSUER", "https://id.example.com")
        .variable("CONDUIT_OIDC_AUDIENCE", "conduit")
        .flags("--http-log none --ws-log none --rules none --tenant-config none")
        .serve();
    let reload = || {
        let mut client = Http::connect(server.http);
        client.send(
            b"POST /v1/admin/reload HTTP/1.1\r\nhost: c\r\nauthorization: Bearer boss\r\ncontent-length: 0\r\n\r\n",
        );
        let answer = client.response();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    eventually("the keys", || (with_token(&server, &old.token(600)) == 404).then_some(()));
    // The same issuer: nothing is taken back.
    reload();
    assert_eq!(with_token(&server, &old.token(600)), 404);
    // Another one, that does not answer yet: the old one is not believed any more.
    configure(&new_issuer);
    reload();
    eventually("the end of the old keys", || (with_token(&server, &old.token(600)) == 401).then_some(()));
    new_issuer.publish(&[&new]);
    eventually("the new keys", || (with_token(&server, &new.token(600)) == 404).then_some(()));
    assert_eq!(with_token(&server, &old.token(600)), 401);
    let _ = std::fs::remove_file(&file);
}
