//! Why a configuration is refused: where it stands, what is wrong, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of `zoo.cfg`, counted from 1.
    Line(usize),
    /// A line of another file, counted from 1.
    File(PathBuf, usize),
    /// A `-D` flag, among the arguments or in one of the variables meant for a JVM.
    Flag,
    /// The file as a whole.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}: "),
            Place::File(path, line) => write!(f, "{} line {line}: ", path.display()),
            Place::Flag => write!(f, "-D flag: "),
            Place::Whole => Ok(()),
        }
    }
}

/// Why a configuration is refused. The process ends with code 2.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; name a file that the server's user may read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something that does not fit: alone, or with the rest.
    #[error("{place}{problem}; {advice}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// Protection that this version does not have, but the configuration demands.
    #[error(
        "{place}{key} demands protection that this version does not have; starting without it \
         would be a hole. Remove the setting if you do not need it"
    )]
    Unprotected {
        /// Where.
        place: Place,
        /// The key.
        key: String,
    },
}

impl ConfigError {
    /// See [`ConfigError::Invalid`].
    pub fn invalid(
        place: Place,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Invalid { place, problem: problem.into(), advice: advice.into() }
    }
}
