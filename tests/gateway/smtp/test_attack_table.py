"""Each known attack on an SMTP server, and the tests that show what it does here.

A1 to A43 are the rows of the project's table of attacks, measured against stock aiosmtpd. The tests stand with their
subjects; this is the way from a row to them, and it fails when one of them is gone.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]

TABLE: dict[str, tuple[str, ...]] = {
    "A1 smuggling, inbound": (
        "gateway/smtp/test_smuggling.py::test_variant_in_one_segment_smuggles_nothing",
        "gateway/smtp/test_smuggling.py::test_variant_octet_by_octet_smuggles_nothing",
        "gateway/smtp/test_data.py::test_segments_do_not_matter",
    ),
    "A2 smuggling, outbound": (
        "gateway/test_content.py::TestInspect::test_bare_cr_and_nul_are_refused_with_their_line",
        "gateway/test_content.py::TestInspect::test_bare_lf_is_refused_with_its_line_where_the_profile_says_so",
        "gateway/test_content.py::TestProperties::test_any_bytes_are_either_refused_or_kept_with_crlf_only",
    ),
    "A3 CR CR LF before the dot": ("gateway/smtp/test_smuggling.py::test_cr_before_the_true_end_is_refused_content",),
    "A4 bare LF ends a command": (
        "gateway/smtp/test_injection.py::test_commands_ended_by_bare_lf_are_not_carried_out",
    ),
    "A5 STARTTLS injection": (
        "gateway/smtp/test_tls.py::TestStarttls::test_injected_commands_are_refused",
        "gateway/smtp/test_tls.py::TestStarttls::test_commands_after_the_reply_in_the_clear_end_the_connection",
    ),
    "A6 STARTTLS inside TLS": ("gateway/smtp/test_tls.py::TestStarttls::test_not_twice",),
    "A7 handshake that stalls": ("gateway/smtp/test_tls.py::test_a_stalled_handshake_is_ended_in_silence",),
    "A8 endless line": (
        "gateway/smtp/test_bounds.py::test_content_without_a_line_end_takes_no_more_memory_than_its_limit",
        "gateway/smtp/test_protocol.py::TestBudgets::test_line_without_end_ends_the_session",
    ),
    "A9 millions of empty lines": (
        "gateway/smtp/test_bounds.py::test_millions_of_empty_lines_are_content_like_any_other",
    ),
    "A10 oversize content": (
        "gateway/smtp/test_bounds.py::test_oversize_content_within_twice_the_limit_is_answered_at_its_end",
        "gateway/smtp/test_bounds.py::test_content_beyond_twice_the_limit_is_told_so_and_left",
    ),
    "A11 failures leak and bounce mail": (
        "gateway/smtp/test_handler.py::TestStoreAndDisk::test_store_failure_is_transient_and_not_quoted",
    ),
    "A12 client leaves at the dot": (
        "gateway/smtp/test_vanishing_clients.py::test_half_closed_client_gets_its_reply",
        "gateway/smtp/test_vanishing_clients.py::test_reset_after_the_dot_stops_a_commit_that_has_begun_no_more",
        "gateway/smtp/test_vanishing_clients.py::test_quit_sent_with_the_dot_is_answered_after_the_commit",
    ),
    "A13 one timer for all phases": (
        "gateway/smtp/test_attacks_content.py::test_steady_content_may_take_longer_than_an_idle_client_may",
        "gateway/smtp/test_protocol.py::TestTimeLimits::test_dripping_content_is_cut_off",
        "gateway/smtp/test_handler.py::TestStoreAndDisk::test_commit_that_has_begun_is_waited_for",
    ),
    "A14 NOOP for ever": (
        "gateway/smtp/test_protocol.py::TestBudgets::test_noop_and_rset_keep_nobody_connected",
        "gateway/smtp/test_protocol.py::TestTimeLimits::test_session_without_a_message_ends",
    ),
    "A15 junk that never counts": (
        "gateway/smtp/test_protocol.py::TestBudgets::test_empty_and_overlong_and_non_ascii_lines_are_errors_too",
    ),
    "A16 connection flood": (
        "gateway/smtp/test_bounds.py::test_flood_of_one_client_leaves_places_for_another",
        "gateway/smtp/test_attacks_flood.py::test_hundreds_of_refused_connections_are_one_line_of_log",
        "gateway/smtp/test_attacks_flood.py::test_a_client_that_never_reads_is_left",
    ),
    "A17 CR in the envelope": (
        "gateway/smtp/test_injection.py::test_control_characters_are_refused_wherever_they_stand",
    ),
    "A18 control characters in the envelope": (
        "gateway/smtp/test_injection.py::test_control_characters_are_refused_wherever_they_stand",
    ),
    "A19 lone surrogates": ("gateway/smtp/test_injection.py::test_surrogates_never_get_in",),
    "A20 source route": ("gateway/smtp/test_handler.py::TestRecipients::test_what_is_no_plain_mailbox_is_553",),
    "A21 percent hack, bang path, quoted @": (
        "gateway/smtp/test_handler.py::TestRecipients::test_what_is_no_plain_mailbox_is_553",
        "gateway/test_addresses.py::test_a_forward_path_that_asks_for_routing_is_refused",
    ),
    "A22 no domain, null forward-path": (
        "gateway/smtp/test_handler.py::TestRecipients::test_what_is_no_plain_mailbox_is_553",
        "gateway/smtp/test_handler.py::TestAccepting::test_null_reverse_path_is_none",
    ),
    "A23 loose syntax": (
        "gateway/smtp/test_commands.py::test_mail_is_refused_with_the_reason",
        "gateway/smtp/test_handler.py::TestRecipients::test_what_is_no_plain_mailbox_is_553",
    ),
    "A24 parser crash": (
        "gateway/smtp/test_injection.py::test_control_characters_are_refused_wherever_they_stand",
        "fuzz/test_fuzz.py::test_what_is_kept_and_what_is_made_of_it_is_taken_as_it_should_be",
    ),
    "A25 8-bit without 8BITMIME": (
        "gateway/smtp/test_attacks_content.py::test_eight_bit_content_is_kept_whatever_was_announced",
    ),
    "A26 SIZE that lies": (
        "gateway/smtp/test_attacks_content.py::test_limit_counts_the_octets_that_come_and_not_those_announced",
        "gateway/smtp/test_protocol.py::test_command_after_ehlo",
    ),
    "A27 BDAT": ("gateway/smtp/test_injection.py::test_other_protocol_ends_the_connection_before_its_payload_is_read",),
    "A28 HTTP": ("gateway/smtp/test_injection.py::test_other_protocol_ends_the_connection_before_its_payload_is_read",),
    "A29 AUTH brute force": (
        "gateway/smtp/test_auth.py::TestRefusals::test_five_failures_end_a_session",
        "gateway/smtp/test_auth.py::TestRefusals::test_nobody_learns_what_was_wrong",
        "gateway/smtp/test_auth.py::TestFromElsewhere::test_each_failure_slows_the_next_try_of_that_client",
    ),
    "A30 AUTH before TLS": ("gateway/smtp/test_auth.py::TestFromElsewhere::test_a_secret_is_not_taken_in_the_clear",),
    "A31 AUTH quirks": (
        "gateway/smtp/test_auth.py::TestMechanisms::test_plain_with_an_initial_response",
        "gateway/smtp/test_auth.py::TestRefusals::test_an_endless_response_is_refused_and_the_session_goes_on",
        "gateway/smtp/test_commands.py::test_mail_is_parsed",
    ),
    "A32 authenticator that blocks": (
        "gateway/smtp/test_admission.py::TestReading::test_a_database_that_hangs_does_not_hold_up_the_start",
        "gateway/smtp/test_auth.py::TestFromElsewhere::test_each_failure_slows_the_next_try_of_that_client",
    ),
    "A33 VRFY, EXPN": (
        "gateway/smtp/test_handler.py::TestRecipients::test_stranger_is_denied_and_told_nothing_about_recipients",
        "gateway/smtp/test_protocol.py::test_first_command",
    ),
    "A34 too many recipients": (
        "gateway/smtp/test_protocol.py::TestBudgets::test_recipients_beyond_the_limit_are_for_another_transaction",
    ),
    "A35 mail loop": (
        "gateway/smtp/test_attacks_content.py::test_every_mail_gets_our_trace_field_and_a_loop_ends_at_it",
        "gateway/smtp/test_handler.py::TestRefusingContent::test_reply_says_what_is_wrong_and_the_session_goes_on",
    ),
    "A36 PROXY header of a stranger": (
        "gateway/smtp/test_proxy.py::TestProxied::test_nobody_else_may_send_one",
        "gateway/smtp/test_proxy.py::TestProxied::test_nor_after_the_banner",
    ),
    "A37 control fields of the provider": (
        "gateway/smtp/test_attacks_content.py::test_fields_that_the_provider_would_obey_or_show_never_leave",
    ),
    "A38 header bombs, Bcc, several From": (
        "gateway/smtp/test_attacks_content.py::test_header_bomb_is_refused_and_the_session_goes_on",
        "gateway/smtp/test_attacks_content.py::test_fields_that_the_provider_would_obey_or_show_never_leave",
        "gateway/smtp/test_handler.py::TestRefusingContent::test_reply_says_what_is_wrong_and_the_session_goes_on",
    ),
    "A39 long lines": (
        "gateway/test_content.py::TestInspect::test_lines_may_have_998_octets",
        "gateway/smtp/test_handler.py::TestRefusingContent::test_reply_says_what_is_wrong_and_the_session_goes_on",
    ),
    "A40 pipelining ahead": (
        "gateway/smtp/test_injection.py::test_client_that_speaks_before_the_banner_is_shown_the_door",
        "gateway/smtp/test_injection.py::test_content_before_354_is_shown_the_door",
    ),
    "A41 limits that sessions share": (
        "gateway/smtp/test_protocol.py::TestBudgets::test_limits_of_one_session_are_not_those_of_another",
    ),
    "A42 null reverse-path": ("gateway/smtp/test_handler.py::TestAccepting::test_null_reverse_path_is_none",),
    "A43 log injection": (
        "gateway/smtp/test_injection.py::test_control_characters_are_refused_wherever_they_stand",
        "gateway/test_logs.py::test_no_control_character_reaches_a_terminal",
    ),
}


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of a module's tests, as pytest writes them."""
    module = ast.parse((TESTS / file).read_text())
    return frozenset(_names(module.body, f"{file}::"))


def _names(body: list[ast.stmt], prefix: str) -> list[str]:
    names = []
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names.append(prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            names += _names(node.body, f"{prefix}{node.name}::")
    return names


def test_every_row_of_the_table_is_here():
    assert [row.partition(" ")[0] for row in TABLE] == [f"A{number}" for number in range(1, 44)]


@pytest.mark.parametrize("row", TABLE)
def test_attack_has_its_tests(row):
    missing = [test for test in TABLE[row] if test not in names_in(test.partition("::")[0])]
    assert not missing
