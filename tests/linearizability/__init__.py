"""Whether what clients saw could have been seen if everything had been done one after the other."""
