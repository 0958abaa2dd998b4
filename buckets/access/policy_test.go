package access

import (
	"fmt"
	"testing"
)

// The rules of files that are kept compiled are bounded by what they take, not
// by their sources.
func TestCompiledRulesAreBounded(t *testing.T) {
	a, err := newRuleBook(func(string) *Policy { return &Policy{FileRules: true} })
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for i := range 200 {
		if _, err := a.compileRule(fmt.Sprintf("'x'.matches('.{900}%d')", i%150)); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, r := range a.compiled {
			sum += r.Size()
		}
		if sum != a.size || sum > maxCompiled {
			t.Fatalf("rule %d: %d rules of %d bytes, counted as %d, at most %d are kept", i, len(a.compiled), sum, a.size, maxCompiled)
		}
		most = max(most, len(a.compiled))
	}
	if most < 10 || most > 100 {
		t.Errorf("at most %d rules were kept: the test is of no use", most)
	}
}
