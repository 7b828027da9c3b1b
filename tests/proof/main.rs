//! The proof of a restored MatrixOne, against one that answers what v1.2.4 and v4.2.0 were recorded to answer.

mod boot;
mod double;
mod ids;
mod rig;
mod values;
mod version;
mod who;
