package local_test

func child(dir string) {}
