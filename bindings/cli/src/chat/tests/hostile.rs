//! What others send is drawn and never obeyed.
