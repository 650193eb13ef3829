package names_test

import (
	"testing"

	"hotpatch/internal/names"
)

func TestNamesWithoutTheirPlace(t *testing.T) {
	for _, c := range [][2]string{
		{"_ZNSt17_Function_handlerIFiiEZ5setupiiPKcEUliE0_E9_M_invokeERKSt9_Any_dataOi", "_ZNSt17_Function_handlerIFiiEZ5setupiiPKcEUliE_E9_M_invokeERKSt9_Any_dataOi"},
		{"_ZZ5setupiiPKcENUliE1_4_FUNEi", "_ZZ5setupiiPKcENUliE_4_FUNEi"},
		{"_ZZ1fiiE3cnt_0", "_ZZ1fiiE3cnt"},
		{"_ZZ1fiiE3cnt__10_", "_ZZ1fiiE3cnt"},
		{"_ZGVZ1fvE3cnt_0", "_ZGVZ1fvE3cnt"},
		{"_ZZ4mainEN1S1fE_0v", "_ZZ4mainEN1S1fEv"},
		{"_Z1gIN3FooUt0_EEvT_", "_Z1gIN3FooUtEEvT_"},
		{"_ZN1AC2ES0_", "_ZN1AC2ES0_"},
		{"_Z1hILi5EEvRA10_iS0_ZUlvE_", "_Z1hILi5EEvRA10_iS0_ZUlvE_"},
		{"_ZN1p5setup28_$u7b$$u7b$closure$u7d$$u7d$17h99e1a35930a97338E", "_ZN1p5setup28_$u7b$$u7b$closure$u7d$$u7d$17hE"},
		{"_ZN1p5setup17h9ced059c8d593796E", "_ZN1p5setup17h9ced059c8d593796E"},
		{"_RNCNvCs1234_1p5setups0_0B3_", "_RNCNvCs1234_1p5setup0B3_"},
		{"handler.lto_priv.1", "handler.lto_priv."},
		{"f.constprop.0.cold", "f.constprop..cold"},
		{"f@GLIBC_2.2.5", "f@GLIBC_2.2.5"},
		{"__main_block_invoke_2", "__main_block_invoke"},
		{"_Z", "_Z"}, {"_Z9999999991f", ""}, {"_ZZ9", ""}, {"plain", "plain"},
	} {
		if got := names.Family(c[0]); c[1] != "" && got != c[1] {
			t.Errorf("%s is of the family %s, not %s", c[0], got, c[1])
		}
	}
}

func FuzzFamily(f *testing.F) {
	for _, s := range []string{"_ZZ5setupiiPKcENUliE1_4_FUNEi", "_ZZ1fiiE3cnt__10_", "_RNCNvCs1234_1p5setups0_0B3_", "f.constprop.0.cold", "_ZUtS_A_LT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got := names.Family(name); len(got) > len(name)+1 {
			t.Errorf("%q became %q", name, got)
		}
	})
}
