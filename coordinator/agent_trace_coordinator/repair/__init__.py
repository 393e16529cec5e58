"""Looking after a store from outside: doctor, repair, backup, mirrors. It serves nobody."""
