;; A proxy-wasm network filter (ABI 0.2.1) before the TCP proxy of TLS that is passed through. It holds a connection until its
;; whole ClientHello (RFC 8446, 4.1.2) is there, and closes it when the hello hides a server name (RFC 9849) or is not well formed.
;; It keeps nothing itself: its finding is filter state `wasm.clrk.hello` of the connection, where access logs read it too.
(module
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer_bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close_stream (param i32) (result i32)))

  ;; Memory: words at 0; where the host writes a pointer (256) and a length (260); the header of a record (272); a bit for each type
  ;; of extension (1024 to 9215); the ClientHello (from 16384, at most 64 KiB and a record more).
  (memory (export "memory") 2)
  (data (i32.const 0) "clrk.hello")
  (data (i32.const 16) "Clear")
  (data (i32.const 32) "HiddenServerName")
  (data (i32.const 64) "BadClientHello")

  ;; Where the host puts what it is asked for next.
  (global $into (mut i32) (i32.const 16384))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $into))

  ;; Pauses: filters after this one, which ask for a verdict and dial, learn of the connection when its hello has been seen.
  (func (export "proxy_on_new_connection") (param $context i32) (result i32)
    (i32.const 1))

  ;; Continues (0) or pauses (1). All that was held goes on with the call that continues.
  (func (export "proxy_on_downstream_data") (param $context i32) (param $size i32) (param $ended i32) (result i32)
    (local $finding i32)
    (if (call $seen) (then (return (i32.const 0))))
    (local.set $finding (call $judge (local.get $size)))
    (if (i32.eqz (local.get $finding)) (then
      ;; Not all of it is there, and more may come.
      (if (i32.eqz (local.get $ended)) (then (return (i32.const 1))))
      (local.set $finding (i32.const 3))))
    (if (i32.eq (local.get $finding) (i32.const 1)) (then
      ;; What cannot be written down would be judged once more, as what it is not.
      (if (i32.eqz (call $find (i32.const 16) (i32.const 5))) (then (return (i32.const 0))))))
    (if (i32.eq (local.get $finding) (i32.const 2)) (then (drop (call $find (i32.const 32) (i32.const 16)))))
    (if (i32.eq (local.get $finding) (i32.const 3)) (then (drop (call $find (i32.const 64) (i32.const 14)))))
    (drop (call $close_stream (i32.const 2)))
    (i32.const 1))

  ;; Writes a finding down; 0 when that worked.
  (func $find (param $word i32) (param $length i32) (result i32)
    (call $set_property (i32.const 0) (i32.const 10) (local.get $word) (local.get $length)))

  ;; Whether the hello of this connection was found clear: the only finding of five letters.
  (func $seen (result i32)
    (global.set $into (i32.const 16384))
    (if (call $get_property (i32.const 0) (i32.const 10) (i32.const 256) (i32.const 260)) (then (return (i32.const 0))))
    (i32.eq (i32.load (i32.const 260)) (i32.const 5)))

  ;; Copies bytes of what the client has sent; 0 when that worked.
  (func $read (param $from i32) (param $length i32) (param $to i32) (result i32)
    (global.set $into (local.get $to))
    (if (call $get_buffer_bytes (i32.const 2) (local.get $from) (local.get $length) (i32.const 256) (i32.const 260)) (then (return (i32.const 1))))
    (i32.ne (i32.load (i32.const 260)) (local.get $length)))

  (func $u16 (param $at i32) (result i32)
    (i32.or (i32.shl (i32.load8_u (local.get $at)) (i32.const 8)) (i32.load8_u (i32.add (local.get $at) (i32.const 1)))))

  ;; Puts the records (RFC 8446, 5.1) of the ClientHello together, at most 32. 0: not all there, 1: clear, 2: hidden, 3: bad.
  (func $judge (param $size i32) (result i32)
    (local $at i32) (local $records i32) (local $length i32) (local $have i32) (local $want i32)
    (block $bad
      (loop $next
        (local.set $records (i32.add (local.get $records) (i32.const 1)))
        (br_if $bad (i32.gt_u (local.get $records) (i32.const 32)))
        (if (i32.gt_u (i32.add (local.get $at) (i32.const 5)) (local.get $size)) (then (return (i32.const 0))))
        (br_if $bad (call $read (local.get $at) (i32.const 5) (i32.const 272)))
        ;; handshake(22), version 3.x, 1 to 2^14 bytes
        (br_if $bad (i32.ne (call $u16 (i32.const 272)) (i32.const 0x1603)))
        (local.set $length (call $u16 (i32.const 275)))
        (br_if $bad (i32.eqz (local.get $length)))
        (br_if $bad (i32.gt_u (local.get $length) (i32.const 16384)))
        (local.set $at (i32.add (local.get $at) (i32.const 5)))
        (if (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $size)) (then (return (i32.const 0))))
        (br_if $bad (call $read (local.get $at) (local.get $length) (i32.add (i32.const 16384) (local.get $have))))
        (local.set $at (i32.add (local.get $at) (local.get $length)))
        (local.set $have (i32.add (local.get $have) (local.get $length)))
        (br_if $next (i32.lt_u (local.get $have) (i32.const 4)))
        ;; client_hello(1), at most 64 KiB
        (br_if $bad (i32.ne (call $u16 (i32.const 16384)) (i32.const 0x0100)))
        (local.set $want (i32.add (call $u16 (i32.const 16386)) (i32.const 4)))
        (br_if $next (i32.lt_u (local.get $have) (local.get $want))))
      ;; Nothing may follow it in its record.
      (br_if $bad (i32.ne (local.get $have) (local.get $want)))
      (return (call $hello (i32.const 16388) (i32.add (i32.const 16384) (local.get $want)))))
    (i32.const 3))

  ;; Judges what is between two addresses. What is read behind the end is in memory still, and makes it bad.
  (func $hello (param $at i32) (param $end i32) (result i32)
    (local $length i32)
    (block $bad
      (br_if $bad (i32.ne (i32.load8_u (local.get $at)) (i32.const 3)))
      ;; legacy_version, random
      (local.set $at (i32.add (local.get $at) (i32.const 34)))
      (local.set $length (i32.load8_u (local.get $at)))
      (br_if $bad (i32.gt_u (local.get $length) (i32.const 32)))
      (local.set $at (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 1))))
      ;; cipher_suites, of two bytes each
      (local.set $length (call $u16 (local.get $at)))
      (br_if $bad (i32.eqz (local.get $length)))
      (br_if $bad (i32.and (local.get $length) (i32.const 1)))
      (local.set $at (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 2))))
      ;; legacy_compression_methods
      (local.set $length (i32.load8_u (local.get $at)))
      (br_if $bad (i32.eqz (local.get $length)))
      (local.set $at (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 1))))
      ;; No extensions: clear. Else they fill the rest.
      (if (i32.eq (local.get $at) (local.get $end)) (then (return (i32.const 1))))
      (br_if $bad (i32.gt_u (i32.add (local.get $at) (i32.const 2)) (local.get $end)))
      (br_if $bad (i32.ne (i32.add (i32.add (local.get $at) (i32.const 2)) (call $u16 (local.get $at))) (local.get $end)))
      (return (call $extensions (i32.add (local.get $at) (i32.const 2)) (local.get $end))))
    (i32.const 3))

  (func $extensions (param $at i32) (param $end i32) (result i32)
    (local $type i32) (local $length i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 8192))
    (block $bad
      (loop $next
        (if (i32.eq (local.get $at) (local.get $end)) (then (return (i32.const 1))))
        (br_if $bad (i32.gt_u (i32.add (local.get $at) (i32.const 4)) (local.get $end)))
        (local.set $type (call $u16 (local.get $at)))
        (local.set $length (call $u16 (i32.add (local.get $at) (i32.const 2))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br_if $bad (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $end)))
        (br_if $bad (call $again (local.get $type)))
        (if (call $hides (local.get $type)) (then (return (i32.const 2))))
        (if (i32.eqz (local.get $type)) (then
          (br_if $bad (i32.eqz (call $one_name (local.get $at) (local.get $length))))))
        (local.set $at (i32.add (local.get $at) (local.get $length)))
        (br $next)))
    (i32.const 3))

  ;; Whether there was an extension of this type before.
  (func $again (param $type i32) (result i32)
    (local $byte i32) (local $bit i32) (local $bits i32)
    (local.set $byte (i32.add (i32.const 1024) (i32.shr_u (local.get $type) (i32.const 3))))
    (local.set $bit (i32.shl (i32.const 1) (i32.and (local.get $type) (i32.const 7))))
    (local.set $bits (i32.load8_u (local.get $byte)))
    (i32.store8 (local.get $byte) (i32.or (local.get $bits) (local.get $bit)))
    (i32.and (local.get $bits) (local.get $bit)))

  ;; encrypted_client_hello and its drafts (0xfe02 to 0xfe0d), ech_outer_extensions (0xfd00), encrypted_server_name of an older draft (0xffce)
  (func $hides (param $type i32) (result i32)
    (i32.or
      (i32.le_u (i32.sub (local.get $type) (i32.const 0xfe02)) (i32.const 0x0b))
      (i32.or
        (i32.eq (local.get $type) (i32.const 0xfd00))
        (i32.eq (local.get $type) (i32.const 0xffce)))))

  ;; Whether server_name (RFC 6066, 3) is one host name: who reads another of several would see another server.
  (func $one_name (param $at i32) (param $length i32) (result i32)
    (if (i32.lt_u (local.get $length) (i32.const 6)) (then (return (i32.const 0))))
    (if (i32.ne (call $u16 (local.get $at)) (i32.sub (local.get $length) (i32.const 2))) (then (return (i32.const 0))))
    (if (i32.load8_u (i32.add (local.get $at) (i32.const 2))) (then (return (i32.const 0))))
    (i32.eq (call $u16 (i32.add (local.get $at) (i32.const 3))) (i32.sub (local.get $length) (i32.const 5))))
)
