//! A client of either kind, and what it is lent while it acts.

use super::consumer::Consumer;
use super::marks::Marks;
use super::network::Network;
use super::oracle::Oracle;
use super::producer::Producer;
use super::random::Random;

/// What a client is lent.
#[derive(Debug)]
pub struct Around<'a> {
    /// The time.
    pub now_ns: u64,
    /// Its number.
    pub client: usize,
    /// Shards that listen; none while the server is down.
    pub shards: usize,
    /// Which server this is: rises with every start.
    pub life: u64,
    /// The connections' bytes.
    pub network: &'a mut Network,
    /// What clients were told.
    pub oracle: &'a mut Oracle,
    /// Rare states.
    pub marks: &'a mut Marks,
    /// Chance.
    pub random: &'a mut Random,
}

impl Around<'_> {
    /// The shard whose listener the kernel gives a new connection to. `None`: nobody listens.
    pub fn choose_shard(&mut self) -> Option<usize> {
        (self.shards > 0).then(|| self.random.below(self.shards as u64) as usize)
    }
}

/// A client.
#[derive(Debug)]
pub enum Client {
    /// It publishes.
    Producer(Producer),
    /// It consumes.
    Consumer(Consumer),
}

impl Client {
    /// When it wants to act.
    #[must_use]
    pub fn next_ns(&self, now_ns: u64, network: &mut Network) -> Option<u64> {
        let (own_ns, peer_ns) = match self {
            Self::Producer(producer) => (producer.next_ns(), producer.peer().next_ns(now_ns, network)),
            Self::Consumer(consumer) => {
                let peer_ns = consumer.peer().next_ns(now_ns, network).map(|ns| ns.max(consumer.read_ns()));
                (consumer.next_ns(), peer_ns)
            }
        };
        match (own_ns, peer_ns) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Acts.
    pub fn act(&mut self, around: &mut Around<'_>) {
        match self {
            Self::Producer(producer) => producer.act(around),
            Self::Consumer(consumer) => consumer.act(around),
        }
    }

    /// It shows a token with every request from now on.
    pub fn show(&mut self, token: &str) {
        match self {
            Self::Producer(producer) => producer.peer_mut().show(token),
            Self::Consumer(consumer) => consumer.peer_mut().show(token),
        }
    }

    /// Its connection breaks.
    pub fn cut(&mut self, now_ns: u64, network: &mut Network) -> bool {
        let peer = match self {
            Self::Producer(producer) => producer.peer_mut(),
            Self::Consumer(consumer) => consumer.peer_mut(),
        };
        let Some(wire) = peer.wire() else { return false };
        network.cut(now_ns, wire);
        true
    }
}
