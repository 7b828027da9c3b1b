//! Backup operator for MatrixOne.
