//! Charts and tables of a run.
