//! Any text in any setting is a value or a problem, never a panic.

use conduit_config::table::SETTINGS;
use conduit_config::{Flags, resolve};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[0-9_]{1,25}[kKmMgGiIbB]{0,3}",
        "[0-9,-]{0,12}",
        Just(String::from("18446744073709551615GiB"))
    ]
}

proptest! {
    #[test]
    fn resolve_never_panics(picks in prop::collection::vec((0..SETTINGS.len(), text(), any::<bool>()), 0..6),
                            stray in prop::collection::vec(("CONDUIT_[A-Z0-9_]{0,200}", text()), 0..3),
                            cores in 0usize..5000) {
        let mut flags = Flags::default();
        let mut environment = stray;
        for (at, text, is_flag) in picks {
            if is_flag { flags = flags.with(SETTINGS[at].flag, &text) } else { environment.push((SETTINGS[at].env.into(), text)) }
        }
        match resolve(&flags, environment, cores) {
            Ok(resolved) => {
                prop_assert!(resolved.config.shards >= 1);
                prop_assert!(!resolved.listing().is_empty());
            }
            Err(problems) => prop_assert!(!problems.0.is_empty()),
        }
    }
}
