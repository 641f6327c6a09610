//! What the server needs to be changed while it runs: the files that it reads, and how it reads them again.

use super::diagnostics::Diagnostics;
use conduit_config::{Loaded, Loader, diff};
use conduit_io::{Operation, Reloaded, Reloader};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Bytes of one file that are read: more than any file of a configuration may have.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a file of the configuration.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// What is in force to begin with, and how it is read again: with the command line and environment of the start.
pub(crate) fn of(loader: Loader, loaded: Loaded, diagnostics: Diagnostics) -> Operation {
    Operation {
        policy: loaded.policy.clone(),
        watched: watched_by(&loaded),
        jwks_uri: jwks_uri_of(&loaded),
        reloader: Some(reloader(loader, loaded, diagnostics)),
    }
}

fn reloader(loader: Loader, mut in_force: Loaded, diagnostics: Diagnostics) -> Reloader {
    Box::new(move || {
        let next = loader.reload(&read_file, &in_force);
        let next = next.map_err(|problems| problems.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let changes = diff(&in_force, &next);
        diagnostics.set_level(next.resolved.config.log_level);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let reloaded = Reloaded {
            policy: next.policy.clone(),
            changed: owned(&changes.reloaded),
            needs_restart: owned(&changes.needs_restart),
            warnings: next.resolved.warnings.clone(),
            watched: watched_by(&next),
            jwks_uri: jwks_uri_of(&next),
        };
        in_force.adopt(next);
        Ok(reloaded)
    })
}

/// Whether files are watched is decided at the start; which ones, at every reload.
fn watched_by(loaded: &Loaded) -> Vec<PathBuf> {
    if !loaded.resolved.config.watch {
        return Vec::new();
    }
    loaded.files.iter().map(|file| file.path.clone()).collect()
}

fn jwks_uri_of(loaded: &Loaded) -> Option<String> {
    let jwt = &loaded.resolved.config.access.jwt;
    jwt.jwks_uri.clone().filter(|_| jwt.oidc)
}
