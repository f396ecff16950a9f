//! Tests of sigplane that need a process of their own, and benchmarks against its peers.
