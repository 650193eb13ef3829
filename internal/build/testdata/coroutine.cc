// A coroutine that lives from call to call. -DFIXED gives it one more point at
// which it is suspended, and no variable; -DELSEWHERE changes what is no part of
// it.
#include <coroutine>
#include <cstdio>
#include <cstdlib>

struct Numbers {
	struct promise_type {
		int value;
		Numbers get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
		std::suspend_always initial_suspend() noexcept { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		std::suspend_always yield_value(int v) { value = v; return {}; }
		void return_void() {}
		void unhandled_exception() { abort(); }
	};
	std::coroutine_handle<promise_type> handle;
};

__attribute__((noinline)) static Numbers numbers(int step)
{
	int other = step * 5;
	for (int i = 0;; i++) {
		co_yield i * step;
#if defined FIXED && !defined ELSEWHERE
		co_yield 7;
#endif
		co_yield other;
		other ^= i;
	}
}

__attribute__((noinline)) int shown(int v)
{
#if defined FIXED && defined ELSEWHERE
	if (v < 0)
		return 0;
#endif
	return v * 3 + 1;
}

int main()
{
	Numbers n = numbers(3);
	for (int c; (c = getchar()) != EOF;) {
		n.handle.resume();
		printf("%d\n", shown(n.handle.promise().value));
	}
}
