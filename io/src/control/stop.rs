//! The end of the process: a first SIGTERM or SIGINT (or a request of the administration) drains. A second signal ends it
//! where signals are read, whatever is going on here.

use super::Control;
use super::documents::JSON;
use crate::ending::Cause;
use crate::mesh::{Document, MeshMessage};
use conduit_protocol::{Origin, ShardId};
use futures_lite::future::yield_now;
use glommio::timer::sleep;
use serde_json::json;
use std::time::Duration;

impl Control {
    /// A first signal.
    pub(super) fn stop(&mut self) {
        self.ending.begin(Cause::Signal);
        self.drain(self.shutdown_timeout_ms);
    }

    /// `POST /v1/admin/drain`: 202 before anything is closed.
    pub(super) fn drain_asked(&mut self, origin: Origin, timeout_ms: Option<u64>) {
        let timeout_ms = timeout_ms.unwrap_or(self.shutdown_timeout_ms);
        let body = json!({
            "status": "draining",
            "timeoutMs": timeout_ms,
            "message": "connections are closed over this time; the process ends with the last one",
        });
        let document = Document { status: 202, content_type: JSON, body: body.to_string().into_bytes() };
        self.answer(origin, document);
        self.ending.begin(Cause::Request);
        self.drain(timeout_ms);
    }

    /// No new work, and the end of the process when the last connection is gone, at the latest after so much time. Told
    /// again, it ends at the earlier of the two.
    fn drain(&mut self, timeout_ms: u64) {
        let end_ns = self.clock.now().mono_ns.saturating_add(timeout_ms.saturating_mul(1_000_000));
        if self.end_ns.is_some_and(|earlier_ns| earlier_ns <= end_ns) {
            return;
        }
        self.end_ns = Some(end_ns);
        self.draining = true;
        self.broadcast(|| MeshMessage::Drain { timeout_ms });
        let timeout = Duration::from_millis(timeout_ms);
        tracing::info!(?timeout, "stopping: no new work, answering what is in progress");
        let me = self.me.clone();
        glommio::spawn_local(async move {
            // A new task runs at once, in the middle of what has begun it.
            yield_now().await;
            sleep(timeout).await;
            let Some(control) = me.upgrade() else { return };
            let mut this = control.borrow_mut();
            if !this.finished && this.end_ns == Some(end_ns) {
                tracing::warn!(
                    shards = this.busy,
                    "connections were still open when the shutdown time ended; they are cut"
                );
                this.finish();
            }
        })
        .detach();
    }

    pub(super) fn shard_drained(&mut self, shard: ShardId) {
        tracing::debug!(shard = shard.0, "drained");
        self.busy = self.busy.saturating_sub(1);
        if self.busy == 0 && self.draining {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.broadcast(|| MeshMessage::Stop);
    }
}
