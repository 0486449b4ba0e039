//! Stories of users and operators, told to the whole platform from outside: see `tests/stories`.
