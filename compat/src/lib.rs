//! The POSIX shim, the C API and the `sigplane` command, on top of [`sigplane`]. This package has its
//! place in the workspace; its contents are the subject of an issue of their own.
