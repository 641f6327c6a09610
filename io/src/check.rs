//! What a start would find out about the machine, as far as it can be known without making or changing anything.

use crate::data::check_data_dir;
use crate::disk::directory::DirectoryError;
use crate::error::ServeError;
use crate::{log_writer, preflight};
use conduit_config::Config;
use rustix::fs::{Access, access};
use std::io;
use std::path::Path;

/// Whether the start could use the CPUs, the files of the access logs and the data directory. Says of the last what the
/// start would do with it; `None` without one. Ports are not bound and nothing is written, so the start may still find
/// one taken, or a file system that takes nothing.
///
/// # Errors
/// Why it could not.
pub fn check(config: &Config) -> Result<Option<String>, ServeError> {
    preflight::check_cpus(config)?;
    for (setting, path) in [("--http-log", &config.access_log.http), ("--ws-log", &config.access_log.ws)] {
        let Some(path) = path else { continue };
        check_file(path).map_err(|error| log_writer::unusable(setting, path, &error))?;
    }
    if let Some(path) = config.data_dir.as_deref().filter(|path| !path.exists()) {
        may_make(path).map_err(|error| DirectoryError::Io { what: "make", path: path.to_owned(), error })?;
    }
    check_data_dir(config)
}

/// Whether lines may be appended to a file, which is made, with its directory, when it is not there.
fn check_file(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() { Ok(access(path, Access::WRITE_OK)?) } else { may_make(path) }
}

/// Whether something may be made at a place where nothing is: in the first directory above it that there is.
fn may_make(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let above = path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { here } else { above });
    let existing = above.into_iter().find(|above| above.exists()).unwrap_or(here);
    if !existing.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(existing, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_is_told_before_the_start() {
        let place = crate::disk::scratch::Scratch::new();
        let file = place.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(check_file(&file).is_ok());
        assert!(check_file(&place.path().join("a/b/c")).is_ok());
        assert!(check_file(Path::new("a-name-alone")).is_ok());
        assert_eq!(check_file(place.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(check_file(&file.join("b/c")).unwrap_err().kind(), io::ErrorKind::NotADirectory);

        let mut config = Config { data_dir: Some(file.join("data")), ..Config::new(1) };
        assert_eq!(check(&config).unwrap_err().exit_code(), 73);
        config.data_dir = Some(place.path().join("data"));
        assert!(check(&config).unwrap().unwrap().ends_with("will be made"));
        config.access_log.ws = Some(file.join("log"));
        let error = check(&config).unwrap_err();
        assert!(error.exit_code() == 78 && error.to_string().contains("--ws-log"), "{error}");
        assert!(!place.path().join("data").exists(), "nothing is made");
    }

    #[test]
    fn a_cpu_that_the_process_may_not_use_is_told() {
        let config = Config { cpus: Some(vec![0, 1_000]), ..Config::new(2) };
        assert!(check(&config).unwrap_err().to_string().contains("--cpus"));
    }
}
