//! The configuration as the one value that sessions are lent: [`Policy`].

use crate::config::Config;
use crate::edge::{AccessSettings, RateSettings};
use crate::problem::Problem;
use crate::secret::Secret;
use crate::tenants::TenantsFile;
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::proxies::Network;
use conduit_protocol::policy::{
    Access, AccessParts, Codecs, Cors, Drain, Guards, JwtParts, Policy, Proxies, Rates, Tenants,
};
use conduit_protocol::rules::Rules;
use conduit_protocol::telemetry::Endpoint;

/// What the files beside the configuration say.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Tokens of the tokens file.
    pub tokens: Vec<Secret>,
    /// The tenants file.
    pub tenants: TenantsFile,
    /// The rules file.
    pub rules: Rules,
}

/// Compiles what an operator decided about requests. `generation` tells policies apart; `shards` is how many there are to
/// share what is counted by each of them.
///
/// # Errors
/// What only shows when everything is put together.
pub fn build(config: &Config, files: &Files, generation: u64, shards: u16) -> Result<Policy, Vec<Problem>> {
    let mut problems = Vec::new();
    let access = match access(&config.access, files) {
        Ok(access) => access,
        Err(problem) => {
            problems.push(problem);
            Access::default()
        }
    };
    if problems.is_empty() && config.access.protect_metrics && access.is_absent() {
        problems.push(Problem::new(
            "--protect-metrics",
            "there is no token that could be asked for, so the metrics would stay open",
            "set CONDUIT_TOKENS or CONDUIT_CONTROL_TOKEN, or give tenants tokens",
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Policy {
        generation,
        access,
        tenants: files.tenants.tenants.clone(),
        cors: Cors { any: config.access.cors_origins.any, origins: config.access.cors_origins.list.clone() },
        rates: rates(&config.rates, shards),
        guards: Guards {
            cookie_bytes_max: config.guards.cookie_bytes_max,
            large_bytes: config.guards.large_bytes,
            refuses_binary: true,
            decoded_bytes_max: config.guards.decoded_bytes_max,
            ruled_body_bytes_max: config.guards.ruled_body_bytes_max,
            ..Guards::default()
        },
        codecs: Codecs { http: config.codecs.http, ws: config.codecs.ws, default: config.codecs.default },
        proxies: Proxies {
            trusted: config
                .access
                .trusted_proxies
                .0
                .iter()
                .map(|(address, prefix_bits)| Network { address: *address, prefix_bits: *prefix_bits })
                .collect(),
        },
        rules: files.rules.clone(),
        logs: config.access_log.budgets,
        drain: Drain {
            rejects_all: config.drain.reject_new,
            alternates: config.drain.alternates.clone(),
            retry_after_ms: config.drain.retry_after_ms,
            after_reload_ms: config.drain.after_reload_ms,
        },
    })
}

fn access(settings: &AccessSettings, files: &Files) -> Result<Access, Problem> {
    let reveal = |tokens: &[Secret]| tokens.iter().map(|token| token.reveal().to_owned()).collect::<Vec<_>>();
    let jwt = &settings.jwt;
    let parts = AccessParts {
        tokens: reveal(&settings.tokens).into_iter().chain(reveal(&files.tokens)).collect(),
        tenant_tokens: files.tenants.tokens.iter().map(|(name, tokens)| (name.clone(), reveal(tokens))).collect(),
        control_token: settings.control_token.as_ref().map(|token| token.reveal().to_owned()),
        jwt: (jwt.secret.is_some() || jwt.oidc).then(|| JwtParts {
            hs256_secret: jwt.secret.as_ref().map(|secret| secret.reveal().to_owned()),
            jwks: None,
            issuer: jwt.issuer.clone(),
            audiences: jwt.audiences.clone(),
            tenant_claim: jwt.tenant_claim.clone(),
            leeway_ms: jwt.leeway_ms,
        }),
        protects_metrics: settings.protect_metrics,
    };
    let tenants: &Tenants = &files.tenants.tenants;
    Access::new(&parts, tenants).map_err(|error| {
        Problem::new("access", error.to_string(), "correct the tokens, the tenants file or the JWT settings")
    })
}

fn rates(settings: &RateSettings, shards: u16) -> Rates {
    let http = |per_window: u32, burst: u32| {
        // A rate of its own that is 0 means the general one, and a burst of 0 the rate.
        let per_window = if per_window == 0 { settings.http_per_ip } else { per_window };
        let burst = if burst == 0 { per_window } else { burst };
        Rate { per_window: per_window.max(1), window_ms: settings.http_window_ms, burst: burst.max(1) }
    };
    let by_endpoint = |endpoint: Endpoint| match endpoint {
        Endpoint::Enqueue => http(settings.http_enqueue, settings.http_burst_enqueue),
        Endpoint::Stats => http(settings.http_stats, settings.http_burst_stats),
        _ => http(0, 0),
    };
    let even =
        |per_window: u32, window_ms: u32| (per_window > 0).then_some(Rate { per_window, window_ms, burst: per_window });
    Rates {
        http_by_ip: if settings.http_enabled {
            Endpoint::ALL.into_iter().map(by_endpoint).collect()
        } else {
            Vec::new()
        },
        in_progress_per_shard_max: (settings.http_inflight_max > 0)
            .then(|| (settings.http_inflight_max / u32::from(shards.max(1))).max(1)),
        ws_messages: even(settings.ws_messages, settings.ws_messages_window_ms),
        ws_connects_by_ip: even(settings.ws_connections, settings.ws_connections_window_ms),
    }
}
