//! The bearer token: read from its file for every request, so that a rotated one counts at once, and compared in
//! constant time. It is never logged and never part of an error.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq;

/// No token is longer.
const TOKEN_LIMIT: u64 = 4 * 1024;
/// A shorter one can be guessed.
const TOKEN_SHORTEST: usize = 16;

/// A file with a token.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(PathBuf);

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is empty or too short.
    #[error("it holds fewer than {TOKEN_SHORTEST} characters; write a random token into it")]
    Short,
    /// It is too long.
    #[error("it is longer than {TOKEN_LIMIT} bytes; it holds one token and nothing else")]
    Long,
}

impl TokenFile {
    /// Uses a file that gives a token.
    pub(crate) fn open(path: PathBuf) -> Result<Self, TokenError> {
        let file = Self(path);
        file.read()?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether this is the token that the file holds at this moment.
    pub(crate) fn admits(&self, given: &[u8]) -> Result<bool, TokenError> {
        Ok(self.read()?.ct_eq(given).into())
    }

    /// The token at this moment.
    pub(crate) fn read(&self) -> Result<Vec<u8>, TokenError> {
        let mut bytes = Vec::new();
        File::open(&self.0)?.take(TOKEN_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > TOKEN_LIMIT {
            return Err(TokenError::Long);
        }
        let token = bytes.trim_ascii();
        if token.len() < TOKEN_SHORTEST {
            return Err(TokenError::Short);
        }
        Ok(token.to_vec())
    }
}
