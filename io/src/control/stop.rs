//! The end of the process: a first SIGTERM or SIGINT drains, a second aborts.

use super::Control;
use crate::mesh::MeshMessage;
use crate::signals::SignalPipes;
use conduit_protocol::ShardId;
use futures_lite::AsyncReadExt;
use glommio::timer::sleep;
use std::cell::RefCell;
use std::rc::Rc;

/// Exit code of a server that was told twice.
const ABORTED: i32 = 130;

/// Starts the tasks that wait for signals.
pub(crate) fn watch(control: &Rc<RefCell<Control>>, signals: SignalPipes) {
    let (mut stop, mut hangup) = signals.attach();
    let stopping = control.clone();
    glommio::spawn_local(async move {
        let mut byte = [0];
        if stop.read_exact(&mut byte).await.is_ok() {
            begin(&stopping);
        }
        if stop.read_exact(&mut byte).await.is_ok() {
            tracing::error!("told to stop a second time: leaving at once, connections are cut");
            std::process::exit(ABORTED);
        }
    })
    .detach();
    glommio::spawn_local(async move {
        let mut byte = [0];
        while hangup.read_exact(&mut byte).await.is_ok() {
            tracing::info!("SIGHUP: this version reads its configuration only at the start; nothing was reloaded");
        }
    })
    .detach();
}

fn begin(control: &Rc<RefCell<Control>>) {
    let timeout = {
        let mut this = control.borrow_mut();
        this.draining = true;
        this.broadcast(|| MeshMessage::Drain);
        this.shutdown_timeout
    };
    tracing::info!(?timeout, "stopping: no new connections, answering what is in progress");
    let control = control.clone();
    glommio::spawn_local(async move {
        sleep(timeout).await;
        let mut this = control.borrow_mut();
        if !this.finished {
            tracing::warn!(
                shards = this.busy,
                "connections were still open when the shutdown time ended; they are cut"
            );
            this.finish();
        }
    })
    .detach();
}

impl Control {
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
