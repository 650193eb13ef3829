int counter = 7;
int zeros[5000];
int lib_count(void) { return ++counter + zeros[0]; }
