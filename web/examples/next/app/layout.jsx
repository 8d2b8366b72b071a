export const metadata = { title: 'A story, with Next.js' };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body style={{ font: '1.1em/1.6 Georgia, serif', maxWidth: '40em', margin: '2em auto', padding: '0 1em' }}>{children}</body>
    </html>
  );
}
