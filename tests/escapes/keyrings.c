/* A key of the host's root, in its user's keyring: by its number, by name, and by the keyring. */
#include "e.h"
#include <linux/keyctl.h>

int main(int argc, char **argv)
{
	char text[128] = "";
	if (is_plant(argc, argv)) {
		int fd = open(word(argc, argv, 2), O_RDONLY);
		ssize_t n = read(fd, text, sizeof text - 1);
		long key = sc(SYS_add_key, "user", "zones-secret", text, n > 0 ? n : 0, KEY_SPEC_USER_KEYRING);
		if (key < 0) return planted("none"), 2;
		/* Whoever has the host's user id 0 may do all with it. */
		sc(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f0000);
		planted("%ld", key);
		sc(SYS_keyctl, KEYCTL_INVALIDATE, key);
		return 1;
	}
	long key = atol(word(argc, argv, 2));
	if (key <= 0) return untried("keys", "this kernel keeps none"), 2;
	long n = sc(SYS_keyctl, KEYCTL_READ, key, text, sizeof text - 1);
	if (n > 0) escaped("read", "%.*s", (int)n, text);
	else held("read", n);
	attempt("link", SYS_keyctl, KEYCTL_LINK, key, KEY_SPEC_PROCESS_KEYRING);
	attempt("setperm", SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f0000);
	attempt("search-user", SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", "zones-secret", 0);
	attempt("search-session", SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "zones-secret", 0);
	attempt("request", SYS_request_key, "user", "zones-secret", 0, 0);
	return verdict();
}
