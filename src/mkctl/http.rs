//! One HTTP request at a time.

use crate::address::Server;
use crate::failure::Failure;
use serde_json::Value;

/// Longest answer that is read: histograms of many streams are long, a server gone mad is longer.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A connection to a server, kept between requests.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: u16,
    /// Seconds that the server asks to wait before trying again.
    pub(crate) retry_after: Option<u64>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(server.timeout))
            // An operator asks this server, not whatever a proxy variable names.
            .proxy(None)
            .max_redirects(0)
            .build();
        let base = format!("http://{}", server.authority());
        Self { agent: config.into(), base, authorization: server.authorization() }
    }

    /// A request with the token, if there is one.
    fn request<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// Asks for a document.
    pub(crate) fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.reply(self.request(self.agent.get(format!("{}{path}", self.base))).call())
    }

    /// Sends a document.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Reply, Failure> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        self.reply(self.request(request).send(body))
    }

    /// Puts a JSON document in its place.
    pub(crate) fn put(&self, path: &str, document: &Value) -> Result<Reply, Failure> {
        let request = self.agent.put(format!("{}{path}", self.base)).header("content-type", "application/json");
        self.reply(self.request(request).send(document.to_string().as_bytes()))
    }

    /// Removes what is there.
    pub(crate) fn delete(&self, path: &str) -> Result<Reply, Failure> {
        self.reply(self.request(self.agent.delete(format!("{}{path}", self.base))).call())
    }

    /// Asks for a JSON document that only counts when the status is 200.
    pub(crate) fn json(&self, path: &str) -> Result<Value, Failure> {
        let reply = self.get(path)?;
        if reply.status != 200 {
            return Err(reply.refusal());
        }
        reply.json()
    }

    fn reply(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, Failure> {
        let unreachable = |error: ureq::Error| {
            Failure::Unreachable(format!(
                "cannot reach {}: {error}\n  is the server running, and is this its address?",
                self.base
            ))
        };
        let mut response = result.map_err(unreachable)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(unreachable)?;
        Ok(Reply { status: response.status().as_u16(), retry_after, body })
    }
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Unreachable(format!("the answer is not JSON ({error}): is this a Conduit server?"))
        })
    }

    /// An answer that means no, in the server's own words where it has some.
    pub(crate) fn refusal(&self) -> Failure {
        let words = serde_json::from_slice::<Value>(&self.body).ok();
        let text = |name: &str| words.as_ref().and_then(|words| words.get(name)?.as_str().map(str::to_owned));
        let code = text("code").unwrap_or_else(|| format!("status {}", self.status));
        let message = text("message").or_else(|| text("details")).or_else(|| text("error"));
        Failure::Refused(
            message.filter(|message| *message != code).map_or(code.clone(), |message| format!("{code}: {message}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        Reply { status: 404, retry_after: None, body: body.as_bytes().to_vec() }.refusal().to_string()
    }

    #[test]
    fn a_refusal_speaks_in_the_servers_words() {
        assert_eq!(
            refusal(r#"{"error":"UnknownStream","message":"no such stream","code":"UnknownStream"}"#),
            "UnknownStream: no such stream"
        );
        assert_eq!(
            refusal(r#"{"error":"Request body decode failed","details":"eof","codec":"json"}"#),
            "status 404: eof"
        );
        assert_eq!(refusal(r#"{"error":"X","code":"X"}"#), "X");
        assert_eq!(refusal("<html>"), "status 404");
    }
}
