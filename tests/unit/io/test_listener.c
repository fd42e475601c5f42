#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/listener.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void good_texts_are_read_and_written_back(void **state)
{
	static const struct {
		const char *text, *written;
		bool loopback;
	} rows[] = {
		{ "127.0.0.1:9466", NULL, true },
		{ "127.8.9.1:0", NULL, true },
		{ "0.0.0.0:9467", NULL, false },
		{ "[::1]:80", NULL, true },
		{ "[::]:65535", NULL, false },
		{ "[2001:DB8::1]:443", "[2001:db8::1]:443", false },
		{ "unix:/run/x.sock", NULL, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *want = rows[i].written ? rows[i].written : rows[i].text;
		struct listener_address address;
		char text[LISTENER_TEXT_MAX];

		assert_int_equal(listener_parse(rows[i].text, &address), 0);
		assert_string_equal(listener_format(&address, text), want);
		assert_int_equal(listener_is_loopback(&address), rows[i].loopback);
	}
}

static void bad_texts_are_refused(void **state)
{
	static const char *const rows[] = {
		"",
		":",
		"9466",
		":9466",
		"localhost:9466",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:65536",
		"127.0.0.1:-1",
		"127.0.0.1:80 ",
		" 127.0.0.1:80",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[]:80",
		"[127.0.0.1]:80",
		"[::1:80",
		"127.0.0.1:0x50",
		"unix:",
		"unix:run/x",
		"[fe80::1%1]:80",
		"unix:/this/path/is/far/too/long/for/the/kernel/which/takes/one/hundred/and/seven/"
		"bytes/of/a"
		"/path/and/then/a/NUL/and/more",
	};
	struct listener_address before, after;

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < COUNT(rows); i++) {
		after = before;
		if (listener_parse(rows[i], &after) != -EINVAL)
			fail_msg("accepted: %s", rows[i]);
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

static void local_path(struct listener_address *address, char dir[static 32])
{
	char text[64];

	strcpy(dir, "/tmp/eva-listener-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text), "unix:%s/s", dir);
	assert_int_equal(listener_parse(text, address), 0);
}

static void unix_sockets_have_a_narrow_mode_and_go_away(void **state)
{
	struct listener_address address;
	struct stat st;
	char dir[32];
	int fd;

	(void)state;
	local_path(&address, dir);
	assert_int_equal(listener_open(&address, &fd), 0);
	assert_int_equal(stat(address.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	listener_close(&address, &fd);
	assert_int_equal(fd, -1);
	assert_int_equal(rmdir(dir), 0);
}

static void only_a_dead_socket_file_is_replaced(void **state)
{
	struct listener_address address;
	int fd, other = -7, file;
	char dir[32];

	(void)state;
	local_path(&address, dir);
	assert_int_equal(listener_open(&address, &fd), 0);
	assert_int_equal(listener_open(&address, &other), -EADDRINUSE);
	assert_int_equal(other, -7);
	close(fd); /* as if the process was killed: the file stays */
	assert_int_equal(listener_open(&address, &fd), 0);
	listener_close(&address, &fd);

	file = open(address.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(listener_open(&address, &other), -EEXIST);
	assert_int_equal(other, -7);
	assert_int_equal(unlink(address.path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void the_chosen_port_is_told(void **state)
{
	struct listener_address address, bound;
	int fd, other = -7;

	(void)state;
	assert_int_equal(listener_parse("127.0.0.1:0", &address), 0);
	assert_int_equal(listener_open(&address, &fd), 0);
	assert_int_equal(listener_bound(fd, &address, &bound), 0);
	assert_int_not_equal(bound.port, 0);
	assert_int_equal(listener_open(&bound, &other), -EADDRINUSE);
	assert_int_equal(other, -7);
	listener_close(&bound, &fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_texts_are_read_and_written_back),
		cmocka_unit_test(bad_texts_are_refused),
		cmocka_unit_test(unix_sockets_have_a_narrow_mode_and_go_away),
		cmocka_unit_test(only_a_dead_socket_file_is_replaced),
		cmocka_unit_test(the_chosen_port_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
