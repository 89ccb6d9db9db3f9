//! The clients in `clients/`, with tests of their own against the real server.

mod python;
