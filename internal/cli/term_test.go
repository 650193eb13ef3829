package cli_test

import (
	"bytes"
	"testing"

	"hotpatch/internal/cli"
	"hotpatch/internal/txn"
)

// A long list is encoded in pieces; who reads it sees no difference.
func TestLongListIsTheSameJSON(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 96, 1000} {
		list := []txn.State{}
		for i := range n {
			list = append(list, txn.State{Package: "a <b> & \"c\"", Seq: uint64(i), Names: make([]string, i%3), Images: []txn.StateImage{{Path: "/x"}}})
		}
		var want, got bytes.Buffer
		if err := cli.WriteJSON(&want, list); err != nil {
			t.Fatal(err)
		}
		if err := cli.WriteJSONList(&got, list); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%d elements: %v\n%.300s\nnot\n%.300s", n, err, &got, &want)
		}
	}
	var none bytes.Buffer
	if err := cli.WriteJSONList(&none, make([]func(), 100)); err == nil || none.Len() > 0 {
		t.Errorf("what cannot be encoded: %q, %v", &none, err)
	}
}
