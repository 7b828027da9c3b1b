//! The rig under the end-to-end tests and the demo: a real Kubernetes control plane, nodes that run Pods as processes,
//! real S3 servers, a real `MatrixOne`, proxies that inject faults, and the means to wait for things.
//!
//! Everything lives in run folders under the system's temp directory and is torn down when its owner is dropped, also
//! when the test process itself is killed (see `run_folder`).

pub mod authority;
pub mod cluster;
pub mod container;
pub mod fault;
pub mod forward;
pub mod http_proxy;
pub mod image;
pub mod kubelet;
pub mod matrixone;
pub mod mysql_proxy;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_status;
pub mod ports;
pub mod product;
pub mod programs;
pub mod rig;
pub mod run_folder;
pub mod s3;
pub mod trial;
pub mod volume;
pub mod wait;
