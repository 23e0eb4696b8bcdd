//! The block `audit`.

use super::Check;
use crate::audit::{Audit, AuditBlock, AuditFile};

impl Check<'_> {
    pub(super) fn audit(&mut self, block: Option<&AuditBlock>) -> Audit {
        let mut audit = Audit::default();
        let Some(block) = block else { return audit };
        audit.file = self.value(&block.file, "audit.file").map(|path| match path.0.as_os_str() == "-" {
            true => AuditFile::StandardOutput,
            false => AuditFile::Path(self.resolve(&path)),
        });
        if let Some(keep) = self.value(&block.keep, "audit.keep") {
            audit.keep = keep.0 as usize;
        }
        audit
    }
}
