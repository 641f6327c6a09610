//! Who may come in and as whom, which files say so, and which pages may read answers.

use super::{measure, row};
use crate::config::FileChoice;
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "tokens",
        "CONDUIT_TOKENS",
        "access.tokens",
        Group::Access,
        Bounds::Form("tokens of visible ASCII characters, separated by commas"),
        |config| Slot::Secrets(&mut config.access.tokens),
        "Tokens that are let in. As long as there is no token, no tenant, no JWT secret and no OIDC, everything is open. A command line can be read by every user of the machine: prefer the file, or the variable.",
    )
    .live(),
    row(
        "tokens-file",
        "CONDUIT_TOKENS_FILE",
        "access.tokensFile",
        Group::Access,
        Bounds::Form("a file with one token a line, # for comments, or none"),
        |config| Slot::Path(&mut config.access.tokens_file),
        "More tokens that are let in; read again at every reload, so that tokens can be changed without a restart.",
    )
    .live(),
    row(
        "control-token",
        "CONDUIT_CONTROL_TOKEN",
        "access.controlToken",
        Group::Access,
        Bounds::Form("one token of visible ASCII characters"),
        |config| Slot::Secret(&mut config.access.control_token),
        "The token that /v1/admin/* wants; with it no other token is enough there. It opens everything else too.",
    )
    .live(),
    row(
        "protect-metrics",
        "CONDUIT_PROTECT_METRICS",
        "access.protectMetrics",
        Group::Access,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.access.protect_metrics),
        "/v1/metrics wants a token too. Needs tokens, or something else that lets in.",
    )
    .live(),
    row(
        "jwt-secret",
        "CONDUIT_JWT_SECRET",
        "access.jwt.secret",
        Group::Access,
        Bounds::Form("a text of at least 32 bytes"),
        |config| Slot::Secret(&mut config.access.jwt.secret),
        "Key of JSON Web Tokens signed with HS256; without it they are not let in.",
    )
    .live(),
    row(
        "oidc-enabled",
        "CONDUIT_OIDC_ENABLED",
        "access.jwt.oidc",
        Group::Access,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.access.jwt.oidc),
        "JSON Web Tokens signed with a key of --oidc-jwks-uri are let in, once signature, exp, nbf, iss and aud are right. Needs --oidc-jwks-uri and --oidc-issuer.",
    )
    .live(),
    row(
        "oidc-jwks-uri",
        "CONDUIT_OIDC_JWKS_URI",
        "access.jwt.jwksUri",
        Group::Access,
        Bounds::Form("an http or https address, or none"),
        |config| Slot::Url(&mut config.access.jwt.jwks_uri),
        "Where the issuer publishes its keys. They are fetched at the start and again from time to time; a key that is not there lets nobody in.",
    )
    .live(),
    row(
        "oidc-issuer",
        "CONDUIT_OIDC_ISSUER",
        "access.jwt.issuer",
        Group::Access,
        Bounds::Form("a text, or none"),
        |config| Slot::Text(&mut config.access.jwt.issuer),
        "The iss that JSON Web Tokens must have, those signed with --jwt-secret too; none: any.",
    )
    .live(),
    row(
        "oidc-audience",
        "CONDUIT_OIDC_AUDIENCE",
        "access.jwt.audience",
        Group::Access,
        Bounds::Form("texts, separated by commas, or none"),
        |config| Slot::Texts(&mut config.access.jwt.audiences),
        "The aud that JSON Web Tokens must name, one of these; without any, tokens that name one are not let in.",
    )
    .live(),
    row(
        "jwt-tenant-claim",
        "CONDUIT_JWT_TENANT_CLAIM",
        "access.jwt.tenantClaim",
        Group::Access,
        Bounds::Form("the name of a claim"),
        |config| Slot::Word(&mut config.access.jwt.tenant_claim),
        "The claim of JSON Web Tokens that names the tenant; where there are tenants, a token without one is not let in.",
    )
    .live(),
    measure(
        ("jwt-leeway-ms", "CONDUIT_JWT_LEEWAY_MS", "access.jwt.leewayMs"),
        Group::Access,
        Unit::Ms,
        (0, 3_600_000),
        |config| Slot::U64(&mut config.access.jwt.leeway_ms),
        "By how much the clocks of issuer and server may differ.",
    )
    .live(),
    row(
        "trusted-proxies",
        "CONDUIT_TRUSTED_PROXIES",
        "access.trustedProxies",
        Group::Access,
        Bounds::Form("addresses and networks such as 10.0.0.0/8,::1, separated by commas"),
        |config| Slot::Networks(&mut config.access.trusted_proxies),
        "Proxies whose X-Forwarded-For is believed: rates and logs then count the client behind them. Nobody's, unless named here.",
    )
    .live(),
    row(
        "cors-origins",
        "CONDUIT_CORS_ORIGINS",
        "access.corsOrigins",
        Group::Access,
        Bounds::Form("* or origins such as https://console.example.com, separated by commas"),
        |config| Slot::Origins(&mut config.access.cors_origins),
        "Pages of these origins may read answers. None, unless named here. Where nobody needs a token, pages of others open no WebSocket and change nothing.",
    )
    .live(),
    row(
        "tenant-config",
        "CONDUIT_TENANT_CONFIG",
        "tenants.file",
        Group::Access,
        Bounds::Form(FileChoice::FORM),
        |config| Slot::File(&mut config.tenants_file),
        "The tenants file. auto: tenants.yaml beside the file of --config, or config/tenants.yaml without one, if it is there.",
    )
    .live(),
    row(
        "rules",
        "CONDUIT_RULES",
        "rules.file",
        Group::Access,
        Bounds::Form(FileChoice::FORM),
        |config| Slot::File(&mut config.rules_file),
        "The rules file. auto: rules.yaml beside the file of --config, or config/rules.yaml without one, if it is there.",
    )
    .live(),
    row(
        "rules-env",
        "CONDUIT_RULES_ENV",
        "rules.env",
        Group::Access,
        Bounds::Form("names of environment variables, separated by commas"),
        |config| Slot::Names(&mut config.rules_env),
        "Variables that rules may read as $env.NAME; their values are those of the start. None, unless named here.",
    )
    .live(),
];

/// What a switch may be set to.
pub(super) const BOOLEANS: &[&str] = &["true", "false"];
