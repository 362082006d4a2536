//! View, mode, plan, check, explain, place.
