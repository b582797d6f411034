//! TEMP shim until the labels of the other slice are merged.
pub mod queries;

use shared::id::TransferId;

#[derive(Clone, Copy, Debug)]
pub enum LabelSource {
    Decision,
    Analyst,
}

#[derive(Clone, Copy, Debug)]
pub struct NewLabel {
    pub transfer_id: TransferId,
    pub fraud: bool,
}
