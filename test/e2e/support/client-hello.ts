const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const vector = (data: Buffer): Buffer => Buffer.concat([u16(data.length), data]);
const extension = (type: number, data: Buffer): Buffer => Buffer.concat([u16(type), vector(data)]);
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** A record with a client hello of TLS 1.2 whose server name is any bytes, which no TLS library would send. */
export const clientHello = (serverName: Buffer): Buffer => {
  const extensions = Buffer.concat([
    extension(0, vector(Buffer.concat([hex('00'), vector(serverName)]))),
    extension(10, hex('00020017')), // P-256
    extension(11, hex('0100')),
    extension(13, hex('0006040308040401')),
    extension(43, hex('020303')),
  ]);
  const body = Buffer.concat([hex('0303'), Buffer.alloc(32, 7), hex('00'), vector(hex('c02bc02f')), hex('0100'), vector(extensions)]);
  return Buffer.concat([hex('160301'), vector(Buffer.concat([hex('0100'), vector(body)]))]);
};
