"""The board: a pure function of committed records. Its results lie beside this file."""
