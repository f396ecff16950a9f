//! placeholder
pub struct ChildEvents;
pub struct ChildExit;
pub fn child_events() {}
