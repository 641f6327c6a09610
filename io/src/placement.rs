//! Which CPU each shard runs on.

use conduit_config::Config;

/// The CPUs that this process may use, in ascending order.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// A CPU for each shard, or `None` for all when there are not enough: they then run unpinned. The configuration's warnings
/// say so.
pub(crate) fn place(config: &Config) -> Vec<Option<usize>> {
    let shards = usize::from(config.shards);
    let cpus = config.cpus.clone().unwrap_or_else(allowed_cpus);
    if cpus.len() < shards {
        return vec![None; shards];
    }
    cpus.into_iter().take(shards).map(Some).collect()
}
